"""Lineage: which run was submitted from inside which, as far up as a run in memory needs it."""

from __future__ import annotations

from collections.abc import Iterator

from titan_core.model.run import Run
from titan_sdk.run_rules import parent_run


class Kin:
    """A run among its relatives.

    Attributes:
        run: its jobs are gone when it has left memory, while its descendants have not.
        parent: that of the run that it was submitted from; None when there is none, or nobody knows it any more.
        children: those of the runs submitted from it, by run id. depth: generations above it.
        bounded: the nearest of it and its ancestors that has a budget.
    """

    __slots__ = ("bounded", "children", "deadline", "depth", "in_memory", "parent", "run")

    def __init__(self, run: Run, parent: Kin | None) -> None:
        self.run = run
        self.parent = parent
        self.children: dict[str, Kin] = {}
        self.depth: int = parent.depth + 1 if parent is not None else 0
        self.in_memory = True
        self.deadline: float | None = None
        """When the wall time of its own budget is over, in monotonic seconds."""
        options = run.row.options
        has_budget = options is not None and options.budget is not None
        self.bounded: Kin | None = self if has_budget else parent.bounded if parent is not None else None

    def budgets(self) -> Iterator[Kin]:
        """It and its ancestors that have a budget, the nearest first."""
        kin = self.bounded
        while kin is not None:
            yield kin
            kin = kin.parent.bounded if kin.parent is not None else None

    def tree(self) -> Iterator[Kin]:
        """It and its descendants, parents before their children."""
        todo = [self]
        while todo:
            kin = todo.pop()
            yield kin
            todo += reversed(kin.children.values())

    def submitted_by(self, key: str) -> list[Kin]:
        """The runs that one of its jobs has submitted, by the job's key."""
        return [kin for kin in self.children.values() if kin.run.row.parent == key]


class Lineage:
    """The runs that have relatives or a budget, or were submitted open.

    One that leaves memory stays here until its last descendant has.
    """

    def __init__(self) -> None:
        self.kin: dict[str, Kin] = {}
        """By run id. Empty, as long as nobody makes use of any of this."""

    def add(self, run: Run, submitter: Run | None) -> Kin | None:
        """A new or restored run; ``submitter``: the run of its parent, when in memory. None: nobody need know."""
        parent = self.kin.get(parent_run(run.row.parent))
        if parent is None and submitter is not None:
            parent = self.kin[submitter.run_id] = Kin(submitter, None)
        options = run.row.options
        if parent is None and (options is None or (options.budget is None and not options.open)):
            return None
        kin = self.kin[run.run_id] = Kin(run, parent)
        if parent is not None:
            parent.children[run.run_id] = kin
        return kin

    def find(self, run_id: str) -> Kin | None:
        return self.kin.get(run_id)

    def left_memory(self, run: Run) -> None:
        """The run has finished and is forgotten, and so are its ancestors that stayed for its sake alone."""
        kin = self.kin.get(run.run_id)
        if kin is None:
            return
        kin.in_memory = False
        while kin is not None and not kin.in_memory and not kin.children:
            del self.kin[kin.run.run_id]
            if kin.parent is not None:
                del kin.parent.children[kin.run.run_id]
            kin = kin.parent
