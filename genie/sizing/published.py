"""What the paper says of its largest training, and where its numbers do not fit each other.

Source: Genie (arXiv 2402.15391) §3 and appendix C. The sizes of the layers are in conf/model/paper.yaml.

Tokens fit exactly: 125,000 steps of 512 clips of 16 frames of 23 x 40 tokens (160x90 in patches of 4, the last row
padded) are 942.08e9. The rest does not:

- 6.6e22 FLOPs for 942e9 tokens are 7.0e10 a token, that is 6 for each of 11.7e9 parameters. 10.1e9 parameters take
  5.7e22 by that rule, and attention adds some 2%; with all blocks recomputed in the backward pass it would be 7.6e22.
- 48 layers of width 5120 with 36 heads of 128 have 9.6e9 parameters where a block of two attention layers and one
  feed-forward counts for two layers, and 19e9 where it counts for one; 36 x 128 is not 5120.
- 200e6 + 300e6 + 10.1e9 parameters are 10.6e9; the paper says 10.7e9, and speaks of 11e9.
"""

PARAMETERS = {"tokenizer": 200e6, "lam": 300e6, "dynamics": 10.1e9}
WORLD_PARAMETERS = 10.7e9
STEPS = 125_000
TOKENS = 942e9
FLOPS = 6.6e22
DEVICES = 256  # TPU v5p
