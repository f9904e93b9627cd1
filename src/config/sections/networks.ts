/** `networks`, and what of them a job reaches. */
import type { SchemaObject } from "ajv";
import { parseSubnet } from "#/lib/subnet.ts";
import type { Kind } from "../kinds.ts";

/** What builds of a job reach: all, nothing but themselves, or these networks (CIDR) alone. */
export type NetworkConfig = "full" | "none" | { readonly only: readonly string[] };

export interface NetworksDocument {
  readonly lab?: readonly string[];
}

const subnet: Kind = {
  expected: "a network such as 10.7.0.0/16 or fd00:7::/32, or an address",
  refuse: (text) => (parseSubnet(text) === undefined ? true : undefined),
};

export const networksSchema: SchemaObject = {
  type: ["object", "null"],
  description: "The networks that jobs with network: lab reach.",
  additionalProperties: false,
  properties: {
    lab: {
      type: "array",
      minItems: 1,
      maxItems: 64,
      uniqueItems: true,
      items: { type: "string", kind: subnet },
      description:
        "Networks and addresses, and nothing else: name servers (127.0.0.53 with systemd-resolved) and 127.0.0.0/8 only if they are here.",
    },
  },
};

export const networkSchema: SchemaObject = {
  enum: ["none", "lab", "full"],
  default: "full",
  description:
    "What the job's scripts on the host reach: nothing but themselves, what networks.lab lists, or all that this box reaches. A checkout isn't affected.",
};

export function resolveNetwork(
  network: "none" | "lab" | "full" = "full",
  { lab = [] }: NetworksDocument = {},
): NetworkConfig {
  return network === "lab" ? { only: lab } : network;
}
