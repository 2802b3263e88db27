"""What an export leaves for people and programs: report, record, model card."""
