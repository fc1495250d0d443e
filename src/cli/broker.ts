// flux broker: this process becomes one broker. `flux start` starts these; launchers can too.
import { brokerOptionSpecs, toBrokerOptions } from "./broker-options.ts";
import { defineCommand } from "./command.ts";

export default defineCommand({
  name: "broker",
  style: "getopt",
  summary: "run one Flux broker",
  usage: "[OPTIONS] [INITIAL-PROGRAM [ARGS...]]",
  details: "Run a broker of a Flux instance. It finds the others by PMI, or is an instance of its own.",
  options: brokerOptionSpecs,
  passThrough: true,
  async run({ options, args }) {
    const { runBroker } = await import("../broker/broker.ts");
    return runBroker(toBrokerOptions(options, args));
  },
});
