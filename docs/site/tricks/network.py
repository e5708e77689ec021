def changes_text(name):
    return ""
