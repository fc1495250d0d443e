/** The version of flux-core whose commands, messages and files these are: what `flux version` and the broker say. */
export const FLUX_VERSION = "0.88.0";

/** The version of this implementation. */
export const FLUX_TS_VERSION = "0.1.0";
