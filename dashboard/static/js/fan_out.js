// Jobs that a list was unfolded into. A few are drawn; many are counted in the job that has the list.

const DRAWN = 12; // instances of one job

export class FanOuts {
  constructor(jobs) {
    this.keys = new Map(); // id of the job that has the list -> keys of its instances
    for (const job of jobs) {
      if (!job.instance_of) continue;
      if (!this.keys.has(job.instance_of)) this.keys.set(job.instance_of, []);
      this.keys.get(job.instance_of).push(job.key);
    }
  }

  has = (id) => this.keys.has(id);
  folds = (id) => (this.keys.get(id)?.length || 0) > DRAWN;

  /** The node {id, parents, state, sub} of a job that has a list, which comes after its instances or counts them. */
  node(node, jobs) {
    const instances = this.keys.get(node.id).map((key) => jobs.get(key)).filter(Boolean);
    if (!this.folds(node.id)) return { ...node, parents: instances.map((each) => each.id) };
    const count = (state) => instances.filter((each) => each.state === state).length;
    const failed = count("DEAD");
    const state = node.state !== "WAITING" ? node.state : failed ? "DEAD" : count("RUNNING") ? "RUNNING" : node.state;
    return { ...node, state, sub: `${count("COMPLETED")} of ${instances.length}${failed ? ` · ${failed} failed` : ""}` };
  }
}
