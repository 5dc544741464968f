"""What sources that ask over the network share: one HTTP client, paging, and the reading of candles and archives."""
