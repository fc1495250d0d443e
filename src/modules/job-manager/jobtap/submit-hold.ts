// submit-hold: every job is held when it arrives, until somebody gives it an urgency.
import { defineJobtap } from "../../../client/jobtap.ts";
import { URGENCY } from "../../../client/jobs.ts";

export const submitHold = defineJobtap({
  start: (tap) => ({
    "job.state.depend": ({ id, urgency }) => {
      if (urgency !== URGENCY.HOLD) tap.post(id, "urgency", { userid: tap.owner, urgency: URGENCY.HOLD });
    },
  }),
});
