"""Devices that carry packets: TUN and TAP, packet sockets, and the capture of a whole namespace."""
