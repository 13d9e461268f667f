"""What holds for every test: one thread per numerical library.

Tests fit small models; threads that wait for each other on shared cores cost ten times what they
save.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
