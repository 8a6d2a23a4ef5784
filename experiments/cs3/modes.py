"""How rows after the train split are scored, as time goes on."""

FROZEN, PREQUENTIAL, ONLINE = "frozen", "prequential", "online"
MODES = (FROZEN, PREQUENTIAL, ONLINE)
TEXTS = {
    FROZEN: "weights and caches are those of the end of training",
    PREQUENTIAL: "each batch is scored, then the caches take its labels; weights stay",
    ONLINE: "each batch is scored, then all is trained on it as before",
}
