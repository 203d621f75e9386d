"""Label files: events in the forms that programs for looking at sound read and write, a file a recording.

A part is a class with

- `suffix`: how the names of its files end, other than those of any other part;
- `write(path, events)`: writes the events of one recording, whole or not at all; no events make a file, too;
- `read(path, *, recording="")`: returns the events of a file. `recording` is their path where the file does
  not tell it. All lines that cannot be read are told in one ManifestError.

A part that needs to know the model's rate has an argument `sample_rate` in Hz, or None where it is not known.

These are formats for programs, not for spreadsheets: a label that begins with = + - or @ is kept as it is.
Tabs and line ends, which no cell can hold, become spaces. Times come back to the last bit.
"""
