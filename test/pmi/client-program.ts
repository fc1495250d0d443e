// Run under a launcher by client.test.ts: put an own pair, meet the others, read all pairs, print what was read.

import { openPmiClient } from "../../src/pmi/client.ts";
import { parseProcessMapping } from "../../src/pmi/process-mapping.ts";

const pmi = await openPmiClient();
const value = `${pmi.rank}-${"x".repeat(800)}`;
await pmi.put(`key.${pmi.rank}`, value);
await pmi.barrier();
let right = 0;
for (let rank = 0; rank < pmi.size; rank++) {
  if ((await pmi.get(`key.${rank}`)) === `${rank}-${"x".repeat(800)}`) right++;
}
const missing = await pmi.get("no-such-key");
const mapping = parseProcessMapping((await pmi.get("PMI_process_mapping")) ?? "", pmi.size);
const universe = await pmi.universeSize();
const appnum = await pmi.appnum();
await pmi.barrier();
if (process.argv[2] === "abort" && pmi.rank === 1) {
  await pmi.abort(7, "enough");
} else {
  await pmi.finalize();
  console.log(JSON.stringify({ rank: pmi.rank, size: pmi.size, right, missing: missing ?? null, mapping, universe: universe ?? null, appnum: appnum ?? null }));
}
