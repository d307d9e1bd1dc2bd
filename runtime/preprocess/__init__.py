"""The front end: from files and arrays to what the network sees, the same in training and on the device."""
