// The service that Restate calls: an invocation of as many durable steps as its caller asks for, one after the other.
// A step does nothing, so that only the engine is measured. Usage: node service.mjs PORT

import * as restate from "@restatedev/restate-sdk";

const steps = restate.service({
  name: "steps",
  handlers: {
    run: async (context, { steps }) => {
      for (let step = 0; step < steps; step += 1) {
        await context.run(`step-${step}`, () => "ok");
      }
      return 1;
    },
  },
});

await restate.endpoint().bind(steps).listen(Number(process.argv[2]));
