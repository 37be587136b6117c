"""Playing a trained world: in the browser, by several people at once, or in a terminal.

labels.py     what the actions are called, which key does which
prompting.py  where a rollout begins
session.py    one player's rollout and controls
drawing.py    texts that players want to see
batching.py   the states of all sessions, stepped together
engine.py     when which session gets its next frame; the model's own thread
recording.py  a session as mp4 and as JSON, and back
protocol.py   what browser and server say to each other
guard.py      who may speak to the server
server.py     pages, downloads and WebSockets
command.py    `python -m genie.play`: the configuration, checked, and everything put together
terminal.py   the same world in a terminal
page/         the page, as it is sent
"""
