"""Folders in object stores and on HDFS: their clients, and working copies of them on this machine."""
