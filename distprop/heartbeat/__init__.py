"""Heartbeats: every rank tells once a second where it is, and who watches them says if they hang, and which of them.

pulse.py      where a rank is, as it notes it itself
sender.py     the thread of a rank that tells it, and ends the rank when nobody listens any more
listener.py   receives it, from ranks on any host
watch.py      decides from what has been heard, and since when nothing has
"""
