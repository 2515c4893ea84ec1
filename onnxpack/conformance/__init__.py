"""Ask a server of the Open Inference Protocol, version 2, all that the protocol says, and tell what it keeps."""
