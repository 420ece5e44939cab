"""The agents, each a job: ``team.py plan|research|write STUDY TOPIC DEPTH``.

All of them are jobs of one run, which grows while it runs. Nobody waits in a slot for anybody else: findings and open
questions are in the key-value store, and whoever answers the last open question starts the writer. Each step may be
repeated, as a job is that its worker died with.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from titan_sdk import Conflict, TitanClient, TitanJob

HERE = Path(__file__).parent


class Agent:
    def __init__(self, client: TitanClient, study: str) -> None:
        self._study = study
        self._kv = client.kv
        self._run = client.run(os.environ["TITAN_RUN_ID"])

    def plan(self, topic: str, depth: int) -> None:
        """The first questions: the topic, and what its page leads to."""
        questions = [topic, *links(topic)]
        print(f"plan: {', '.join(questions)}")
        self._call_in(questions, depth)

    def research(self, topic: str, depth: int) -> None:
        """One question: a finding, and more questions when there is depth left."""
        finding = page(topic).split("\n\n")[1].strip() if page(topic) else "Nothing is known about that."
        self._kv.set(f"{self._study}/finding/{topic}", finding)
        print(f"{topic}: {finding}")
        if depth > 0:
            self._call_in(links(topic), depth - 1)
        self._kv.remove(f"{self._study}/open", topic)
        if not self._kv.members(f"{self._study}/open") and self._is_chosen():
            self._submit("writer", ["write", self._study, "-", 0])

    def write(self) -> None:
        """The report, of everything that was found."""
        prefix = f"{self._study}/finding/"
        lines = []
        for key in sorted(self._kv.keys(prefix)):
            lines.append(f"{key.removeprefix(prefix)}: {self._kv[key].decode()}")
        self._kv.set(f"{self._study}/report", "\n".join([f"{len(lines)} findings", *lines, ""]))

    def _call_in(self, topics: list[str], depth: int) -> None:
        """A researcher for each question that nobody was asked before."""
        for topic in topics:
            # Open before it is anybody's, so that no one takes himself for the last while this goes on.
            self._kv.add(f"{self._study}/open", topic)
            self._submit(f"on-{topic.lower()}", ["research", self._study, topic, depth])

    def _submit(self, role: str, args: list[str | int]) -> None:
        name = f"{self._study}-{role}"
        if not self._kv.create(f"{self._study}/asked/{role}", self._me()) and not self._was_mine(role):
            topic = str(args[2])
            if self._kv.get(f"{self._study}/finding/{topic}") is not None:
                self._kv.remove(f"{self._study}/open", topic)  # answered already
            return
        try:
            self._run.add(TitanJob(name, "team.py", archive=HERE, args=args), idempotency_key=name)
        except Conflict:  # this is a repetition, and the job is there
            pass

    def _was_mine(self, role: str) -> bool:
        return self._kv.get(f"{self._study}/asked/{role}") == self._me().encode()

    def _is_chosen(self) -> bool:
        """One of those that see no open question is the one who starts the writer."""
        key = f"{self._study}/closer"
        return self._kv.create(key, self._me()) or self._kv.get(key) == self._me().encode()

    def _me(self) -> str:
        return os.environ["TITAN_JOB_ID"]


def page(topic: str) -> str:
    path = HERE / "corpus" / f"{topic}.md"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def links(topic: str) -> list[str]:
    """The topics that a page names, as ``[[Topic]]``."""
    return list(dict.fromkeys(re.findall(r"\[\[(\w+)\]\]", page(topic))))


def main(role: str, study: str, topic: str, depth: str) -> None:
    with TitanClient() as client:
        agent = Agent(client, study)
        if role == "plan":
            agent.plan(topic, int(depth))
        elif role == "research":
            agent.research(topic, int(depth))
        else:
            agent.write()


if __name__ == "__main__":
    main(*sys.argv[1:])
