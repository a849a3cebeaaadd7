"""
Reading files: `FileToDocument`, and one module for each type of file.

Each module has the name of its type and a function `read`, and is imported when the first such file is read.
"""
