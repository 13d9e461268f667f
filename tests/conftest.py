"""What holds for every test: one thread per numerical library, and TensorFlow with oneDNN.

Tests fit small models; threads that wait for each other on shared cores cost ten times what they
save. TensorFlow turns oneDNN on by itself on some processors only, and on the others its own fused
kernels refuse convolutions in groups, which tests compare compiled networks with.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
