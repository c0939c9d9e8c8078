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

setup({ use: { counter } }).start();
