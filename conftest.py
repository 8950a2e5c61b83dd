"""Settings that all tests share: how hard Hypothesis searches."""

import os

try:
    from hypothesis import settings
except ImportError:  # a package's unit tests also run where nothing else is installed
    pass
else:
    # A shared machine is sometimes slow: the time limit is pytest's, per test.
    settings.register_profile("default", settings(), deadline=None)
    settings.register_profile("stress", settings(), deadline=None, max_examples=2000)
    settings.load_profile("stress" if os.environ.get("MINDTRACE_STRESS") else "default")
