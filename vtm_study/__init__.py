"""Beyond the paper: what the topics cost, where the information goes, an interpretable model that keeps it, and peers.

Chosen on the validation part; the test part is read by `vtm_study.summary`, `vtm_study.mismatches` and
`vtm_study.peers`, with what was chosen.
"""
