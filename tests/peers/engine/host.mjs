// An actor host: one actor that counts, and fails when it is asked to.
import { actor, setup } from "rivetkit";

const counter = actor({
  state: { count: 0 },
  actions: {
    add: (c, n) => (c.state.count += n),
    fail: () => {
      throw new Error("wanted");
    },
  },
});

// Helper services listen on fixed ports, so that a second host on the machine would not start.
setup({ use: { counter }, startServices: false }).start();
