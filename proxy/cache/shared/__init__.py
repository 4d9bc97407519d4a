"""The second tier: responses in Redis or Valkey that all Weirs of one store share, behind the memory of each.

`tier.SharedTier` is all that the rest of the cache sees. A miss of the memory is an `Inquiry`; who has to fetch holds a
`Ticket`; the `Writer` brings what was fetched; `form` and `names` say what stands where. docs/decisions/0009 says why.
"""
