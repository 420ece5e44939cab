// A list that is read once, and pushed from then on whenever it has changed.
import { get } from "./api.js";
import { listen } from "./events.js";

/** `take(data)` gets it; `failed(error)` is called when the first reading did not succeed. Further topics by `handlers`. */
export function follow(topic, path, take, failed, handlers = {}, topics = []) {
  let pushed = 0, there = false;
  const taken = (data) => { there = true; take(data); };
  async function read() {
    const before = pushed;
    try {
      const data = await get(path);
      if (pushed === before) taken(data); // else there is a newer one already
    } catch (error) {
      if (!there) failed(error);
    }
  }
  listen([topic, ...topics], { [topic]: (data) => { pushed += 1; taken(data); }, ...handlers, master: (master) => { if (master.up) read(); } });
  return read;
}
