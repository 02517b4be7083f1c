"""Online knowledge distillation: peers that learn side by side from the labels and from what they say together; one of them is kept.

`settings` says how · `peers` runs K models over one frozen extractor · `teachers` makes of them what each of them is taught · `losses`.
"""
