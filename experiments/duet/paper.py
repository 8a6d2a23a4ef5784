"""Figures of "Dual Model Co-Training for Entire Space CTR Prediction" (DUET, 2025, arXiv 2510.24369)."""

TABLE_2 = (("RecFlow", "AUC", 0.6322), ("industrial", "AUC", 0.6881), ("industrial", "UAUC", 0.6787))
"""Data, metric and value of DUET. Levels of the baselines are not known to us."""
WITHOUT_COTRAINING = (-0.0517, -0.0497, -0.0493)
"""RelaImp of the ablation on those three, its largest."""
WITHOUT_KL = (-0.0122, -0.0256)
"""RelaImp of the ablation: least and greatest loss."""
GREATEST_GAIN = 0.1731
"""RelaImp over a baseline, its best."""
