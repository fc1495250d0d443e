// What a broker knows of the subtrees below it: whether each child is there, and how complete its subtree is.
// Pure bookkeeping; the links are in overlay.ts.

/** Numbers travel in control messages. */
export const SUBTREE_STATUS = { unknown: 0, full: 1, partial: 2, degraded: 3, lost: 4, offline: 5 } as const;
export type SubtreeStatus = keyof typeof SUBTREE_STATUS;

export function subtreeStatusOf(number: number): SubtreeStatus {
  const found = (Object.entries(SUBTREE_STATUS) as [SubtreeStatus, number][]).find(([, value]) => value === number);
  return found?.[0] ?? "unknown";
}

export interface Child {
  readonly rank: number;
  status: SubtreeStatus;
  /** When its status last changed, by the monotonic clock. */
  since_ms: number;
  torpid: boolean;
  /** Why it is lost. */
  error: string | undefined;
}

export class Children {
  readonly #children = new Map<number, Child>();

  constructor(ranks: readonly number[], now_ms: number) {
    for (const rank of ranks) this.#children.set(rank, { rank, status: "offline", since_ms: now_ms, torpid: false, error: undefined });
  }

  get(rank: number): Child | undefined {
    return this.#children.get(rank);
  }

  [Symbol.iterator](): Iterator<Child> {
    return this.#children.values();
  }

  get count(): number {
    return this.#children.size;
  }

  get onlineCount(): number {
    return [...this.#children.values()].filter(isOnline).length;
  }

  /** How complete the whole subtree is, this broker included. */
  subtreeStatus(): SubtreeStatus {
    let status: SubtreeStatus = "full";
    for (const child of this.#children.values()) {
      if (child.status === "lost" || child.status === "degraded") return "degraded";
      if (child.status !== "full") status = "partial";
    }
    return status;
  }
}

export function isOnline(child: Child): boolean {
  return child.status !== "offline" && child.status !== "lost";
}
