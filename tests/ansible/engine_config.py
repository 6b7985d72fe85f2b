#!/usr/bin/python3
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
A stand-in for the engine's program engine-config, which cannot be had here,
as its source (EngineConfigLogic) has it for a key with a value per cluster
level: -g prints them all, -s replaces one, -m appends what is not there.
The values are in a file beside it.
"""

import argparse
import json
import sys

VALUES = __file__ + '.json'

parser = argparse.ArgumentParser()
parser.add_argument('-g', dest='get')
parser.add_argument('-s', dest='set')
parser.add_argument('-m', dest='merge')
parser.add_argument('--cver')
options = parser.parse_args()

with open(VALUES) as file:
    values = json.load(file)
if options.get:
    assert options.get == 'UserDefinedVMProperties'
    if options.cver:
        print(values[options.cver])
    else:
        for level, value in values.items():
            print('%s: %s version: %s' % (options.get, value, level))
    sys.exit()
key, _, value = (options.set or options.merge).partition('=')
assert key == 'UserDefinedVMProperties'
if options.cver not in values:
    sys.exit("Error setting %s's value. No such entry with version %s."
             % (key, options.cver))
if options.merge:
    parts = list(filter(None, values[options.cver].split(';')))
    parts += [part for part in value.split(';') if part not in parts]
    value = ';'.join(parts)
values[options.cver] = value
with open(VALUES, 'w') as file:
    json.dump(values, file)
