"""The benchmark of liquidity forecasts: data sets, arms, cells that can be resumed, what they say, the pages."""
