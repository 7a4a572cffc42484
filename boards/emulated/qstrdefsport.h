Q(/lib)
Q(/rom)
Q(/rom/lib)
