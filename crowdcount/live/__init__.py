"""Live sources: streams that reconnect, readings that survive, alarms and their messages.

`reader` gives the newest frame of a source, `readings` stores what was counted, `watch` ties them together.
"""
