// Stub for tests: the Arduino library's marker header.
