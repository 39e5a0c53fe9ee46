"""Beyond the paper: families of models tuned with one budget and cross-fitted, an interpretable model, and its peers.

Settings are chosen on validation parts (`vtm_study.grid`); test parts are read by `vtm_study.crossfit` and
`vtm_study.peers`, with what was chosen.
"""
