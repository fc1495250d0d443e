// How a broker learns its rank, the size of the instance, and the cards of its neighbours: alone, or from a launcher.
import { hasPmi, openPmiClient, type PmiClient } from "../../pmi/client.ts";
import { parseProcessMapping } from "../../pmi/process-mapping.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { type Card, formatCard, parseCard } from "../overlay/card.ts";

export interface Boot {
  /** The value of broker.boot-method. */
  readonly method: string;
  readonly rank: number;
  readonly size: number;
  /** Name that the launcher gives this program: a job id when the launcher is Flux. */
  readonly jobid: string | undefined;
  readonly instanceLevel: number;
  /** Node of each rank; undefined when the launcher does not say. */
  readonly nodeOfRank: readonly number[] | undefined;
  /** Publishes our card, waits for everybody else's, and reads those of `ranks`. */
  exchange(card: Card, ranks: readonly number[]): Promise<Map<number, Card>>;
  /** The launcher is not needed any more. */
  finish(): Promise<void>;
}

export async function openBoot(method: string | undefined, env: Readonly<Record<string, string | undefined>>): Promise<Boot> {
  if (method !== undefined && method !== "simple" && method !== "single") {
    throw new FluxError(errno.EINVAL, `broker.boot-method=${method} is not supported: use simple or single`);
  }
  if (method === "single" || (method === undefined && !hasPmi(env))) return singleton();
  return fromPmi(await openPmiClient(env));
}

function singleton(): Boot {
  return {
    method: "single",
    rank: 0,
    size: 1,
    jobid: undefined,
    instanceLevel: 0,
    nodeOfRank: [0],
    exchange: () => Promise.resolve(new Map()),
    finish: () => Promise.resolve(),
  };
}

async function fromPmi(pmi: PmiClient): Promise<Boot> {
  const level = await pmi.get("flux.instance-level");
  const mapping = await pmi.get("PMI_process_mapping");
  return {
    method: "simple",
    rank: pmi.rank,
    size: pmi.size,
    jobid: level === undefined ? undefined : pmi.kvsname,
    instanceLevel: Number(level ?? 0),
    nodeOfRank: mapping === undefined ? undefined : parseProcessMapping(mapping, pmi.size),
    async exchange(card, ranks) {
      if (pmi.size === 1) return new Map();
      await pmi.put(cardKey(pmi.rank), formatCard(card));
      await pmi.barrier();
      const cards = new Map<number, Card>();
      for (const rank of ranks) {
        const text = await pmi.get(cardKey(rank));
        if (text === undefined) throw new FluxError(errno.EPROTO, `the launcher's PMI has no address of broker ${rank}`);
        cards.set(rank, parseCard(text, rank));
      }
      return cards;
    },
    async finish() {
      await pmi.finalize();
    },
  };
}

function cardKey(rank: number): string {
  return `flux.broker.${rank}`;
}
