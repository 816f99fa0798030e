"""A small WordNet, written as data.noun."""

# wnid: (names, parents)
SYNSETS = {
    "n00000001": (["entity"], []),
    "n00000002": (["thing", "physical_thing"], ["n00000001"]),
    "n00000003": (["abstraction"], ["n00000001"]),
    "n00000010": (["animal", "beast"], ["n00000002"]),
    "n00000011": (["pet"], ["n00000010"]),
    "n00000012": (["canine"], ["n00000010"]),
    "n00000013": (["dog", "domestic_dog"], ["n00000012", "n00000011"]),
    "n00000014": (["terrier"], ["n00000013"]),
    "n00000015": (["Yorkshire_terrier"], ["n00000014"]),
    "n00000016": (["Norfolk_terrier"], ["n00000014"]),
    "n00000017": (["wolf"], ["n00000012"]),
    "n00000018": (["cat", "house_cat"], ["n00000011"]),
    "n00000020": (["tool"], ["n00000002"]),
    "n00000021": (["saw"], ["n00000020"]),
    "n00000022": (["chain_saw", "chainsaw"], ["n00000021"]),
    "n00000023": (["Caterpillar", "cat"], ["n00000020"]),
    "n00000030": (["idea"], ["n00000003"]),
}


def write_wordnet(folder):
    """Write data.noun to `folder`, with a licence as the real one has, numbered by line."""
    lines = ["  1 This software is", "  2   ", "  3 made up."]
    for wnid, (names, above) in SYNSETS.items():
        lemmas = " ".join(f"{name} 0" for name in names)
        pointers = "".join(f" @ {parent[1:]} n 0000" for parent in above)
        pointers += " ~ 00000099 n 0000"  # a hyponym, not to be read
        lines.append(
            f"{wnid[1:]} 05 n {len(names):02x} {lemmas} {len(above) + 1:03d}{pointers} | a gloss; @"
        )
    (folder / "data.noun").write_text("\n".join(lines) + "\n")
    return folder
