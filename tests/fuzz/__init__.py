"""Coverage-guided fuzzing of everything that reads what others wrote. ``docs/development.md`` has how it is run.

A target is a module of :mod:`tests.fuzz.targets`: its documentation states, in one sentence, what holds for every input;
``one_input`` checks that and raises where it doesn't hold. The rest is :class:`tests.fuzz.corpus.Target`.
"""
