"""An engine without interpreter: C99 for one int8 network, the same bits as integer execution."""
