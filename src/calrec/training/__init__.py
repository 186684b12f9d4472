"""Fine-tuning in two stages."""

import logging
import os

# In bfloat16 a CPU's products go through oneDNN, which keeps what it has made for every shape that it meets; batches
# bring ever new ones. By default that is 1,024 shapes: 0.6 GB after 120 passes of 6 small layers, and no pass is
# quicker for it than with a few. Read at the first product.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
os.environ.setdefault("LRU_CACHE_CAPACITY", "32")

# Where bitsandbytes is installed, peft imports it, and it warns of a kernel that only inference on a CPU would use.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
