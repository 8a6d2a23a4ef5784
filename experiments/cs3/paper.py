"""Figures of "Efficient Online Capability Synergy for Two-Tower Recommendation" (CS3, 2026, arXiv 2604.19269)."""

AUCS = (("TaobaoAd", 0.6194, 0.6855), ("KuaiRand", 0.6646, 0.7484), ("RecSys2017", None, 0.8380))
"""Data, AUC of DSSM and of DSSM with CS3; the one that is missing is not known to us."""
COLD = (("cold_users", 0.5333, 0.6037), ("cold_items", 0.5964, 0.6408))
"""AUC on ids with at most three interactions, without and with CS3."""
NOISE_LOSS = -0.00051
"""Change of the AUC of DSSM with CAS under noise of deviation 0.1; DSSM alone loses more."""
