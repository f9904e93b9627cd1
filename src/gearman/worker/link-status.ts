/** What a worker's link to a server is doing, as one line for people. */
import type { Link } from "./link.ts";

export function linkStatus(link: Link): string {
  const { state, lastError } = link;
  switch (state.kind) {
    case "waiting":
      return `waits to connect again: ${lastError?.message ?? "not tried yet"}`;
    case "connecting":
      return lastError ? `connecting again: ${lastError.message}` : "connecting";
    case "registering":
      return `registering ${count(state.registration.size)}`;
    case "awake":
      return `${count(state.registration.size)} registered, asking for no job just now`;
    case "grabbing":
      return `${count(state.registration.size)} registered, asking for a job`;
    case "working":
      return `${count(state.registration.size)} registered, at work`;
    case "asleep":
      return `${count(state.registration.size)} registered, waiting for jobs`;
    case "closed":
      return "closed";
  }
}

const count = (size: number): string => (size === 1 ? "1 function" : `${size} functions`);
