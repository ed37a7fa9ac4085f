"""Run by the system's Python, which has libkdumpfile: the pages of a kdump file, a line
each: SHA-256, or ``excluded`` where the file has none.

python3 libkdumpfile_pages.py FILE PAGES zero|absent
"""

import hashlib
import sys

import kdumpfile

name, pages, excluded = sys.argv[1:]
context = kdumpfile.kdumpfile(name)
context.attr["file.zero_excluded"] = excluded == "zero"
for page in range(int(pages)):
    try:
        data = context.read(kdumpfile.KDUMP_MACHPHYSADDR, 4096 * page, 4096)
    except kdumpfile.exceptions.NoDataException:
        print("excluded")
    else:
        print(hashlib.sha256(data).hexdigest())
