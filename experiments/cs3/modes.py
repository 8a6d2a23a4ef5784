"""How rows after the train split are scored, as time goes on."""

FROZEN, PREQUENTIAL, ONLINE = "frozen", "prequential", "online"
MODES = (FROZEN, PREQUENTIAL, ONLINE)
TEXTS = {
    FROZEN: "weights and caches are those of the end of training",
    PREQUENTIAL: "each batch is scored, then the caches take its labels; weights stay. So the caches of CTS and CMS "
    "are given the labels of earlier test rows, and the base, which has no caches, nothing",
    ONLINE: "each batch is scored, then weights and caches learn from it as before: every method, the base too, is "
    "given the labels of earlier test rows",
}
