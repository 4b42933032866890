"""How parties meet, talk and compute. Knows no step."""
