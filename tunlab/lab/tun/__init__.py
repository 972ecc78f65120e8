"""Read packets from a lab's TUN and inject packets into it, whichever process is attached to it."""
