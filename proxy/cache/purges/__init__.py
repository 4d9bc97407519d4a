"""What ends stored responses by order: one purge, those that are known here, and those that all Weirs of a store share.

`purge` is the order itself and `known` those there have been, for what was asked for before one and comes after it.
`shared.SharedPurges` brings them to all Weirs: `link` is the log in the store, `records` what stands in it, and `queue`
holds what the others have not heard of yet. docs/decisions/0014 says why.
"""
