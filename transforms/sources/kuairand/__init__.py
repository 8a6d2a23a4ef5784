"""KuaiRand."""
