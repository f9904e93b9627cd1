/** The life of a port, as others see it. */
import type { DeviceError } from "../errors.ts";

/**
 *            found            opened            lend()
 *   absent ─────────▶ opening ───────▶ open ─────────────▶ lent
 *    ▲ ▲ ▲             │  ▲             │ ▲                 │ │
 *    │ │ └─ not there ─┤  │ a change,   │ └── given back ───┘ │
 *    │ │               ▼  │ or a while  │      and opened     │
 *    │ │             refused            │                     │
 *    │ └────────────── lost ────────────┘     given back and  │
 *    └─────────────────────────────────────── not there ──────┘
 *
 *   any state ─▶ closed (for good)
 */
export type PortState =
  | { readonly kind: "absent"; readonly reason: string }
  | { readonly kind: "opening"; readonly path: string }
  /** It is read for as long as it is there. */
  | { readonly kind: "open"; readonly path: string }
  /** Another program has it, and ours is closed meanwhile; `returned`: it is being opened again. */
  | { readonly kind: "lent"; readonly path: string; readonly returned: boolean }
  /** It is there and can't be had: `reason` says why and what to do. Tried again after each change, and now and then. */
  | { readonly kind: "refused"; readonly reason: string; readonly error: DeviceError }
  | { readonly kind: "closed" };
