// What `flux broker` and `flux start` are told on the command line about one broker.
export interface BrokerOptions {
  /** -S NAME=VALUE, in order. */
  readonly attrs: readonly (readonly [name: string, value: string])[];
  /** -c PATH. */
  readonly configPath: string | undefined;
  /** --conf VALUE, in order. */
  readonly conf: readonly string[];
  readonly verbose: number;
  /** Words of the initial program. */
  readonly command: readonly string[];
}
