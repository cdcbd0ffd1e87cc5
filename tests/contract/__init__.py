"""The promises of the wrapper, held to on every engine and every loop."""
